/** An error that the person in front of the page can mend: one sentence that says how. */
export class UserError extends Error {
  override readonly name = "UserError";
}

/** What to show for anything that was thrown. */
export function messageOf(error: unknown): string {
  if (error instanceof UserError) return error.message;
  return `Unexpected error: ${error instanceof Error ? error.message : String(error)}`;
}
