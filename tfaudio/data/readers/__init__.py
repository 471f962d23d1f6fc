"""Readers: from the files of a data set to its `DatasetSpec`, by names, tables and sizes; no audio is decoded."""
