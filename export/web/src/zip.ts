/**
 * Reads the ZIP archive that lies behind a TFLite model: members stored as they are, no compression.
 *
 * Source: PKWARE's APPNOTE 6.3, sections 4.3.7 (local header), 4.3.12 (central directory) and 4.3.16 (its end).
 */

const END_SIGNATURE = 0x06054b50;
const ENTRY_SIGNATURE = 0x02014b50;
const LOCAL_SIGNATURE = 0x04034b50;
const END_LENGTH = 22;
const ENTRY_LENGTH = 46;
const LOCAL_LENGTH = 30;
const LONGEST_COMMENT = 0xffff;

export interface Archive {
  /** Content by name. */
  readonly files: ReadonlyMap<string, Uint8Array>;
  /** Where the archive begins: the length of the model in front of it. */
  readonly start: number;
}

/** Returns the archive at the end of `bytes`, or null if there is none that can be read. */
export function readArchive(bytes: Uint8Array): Archive | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const end = findEnd(view);
  if (end < 0) return null;
  const files = new Map<string, Uint8Array>();
  let start = view.getUint32(end + 16, true);
  let position = start;
  try {
    for (let left = view.getUint16(end + 10, true); left > 0; left--) {
      if (view.getUint32(position, true) !== ENTRY_SIGNATURE) return null;
      const stored = view.getUint16(position + 10, true) === 0;
      const length = view.getUint32(position + 20, true);
      const [nameLength, extraLength, commentLength] = [28, 30, 32].map((at) => view.getUint16(position + at, true)) as [
        number,
        number,
        number,
      ];
      const local = view.getUint32(position + 42, true);
      const name = new TextDecoder().decode(bytes.subarray(position + ENTRY_LENGTH, position + ENTRY_LENGTH + nameLength));
      if (!stored || view.getUint32(local, true) !== LOCAL_SIGNATURE) return null;
      const content = local + LOCAL_LENGTH + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
      files.set(name, bytes.subarray(content, content + length));
      start = Math.min(start, local);
      position += ENTRY_LENGTH + nameLength + extraLength + commentLength;
    }
  } catch (error) {
    if (error instanceof RangeError) return null; // a header points beyond the file
    throw error;
  }
  return { files, start };
}

function findEnd(view: DataView): number {
  const lowest = Math.max(0, view.byteLength - END_LENGTH - LONGEST_COMMENT);
  for (let position = view.byteLength - END_LENGTH; position >= lowest; position--) {
    if (view.getUint32(position, true) === END_SIGNATURE) return position;
  }
  return -1;
}
