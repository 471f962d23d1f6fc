"""Small transcription: which known words follow each other in a recording, by an encoder with a CTC output."""
