/** Which buffers may move to another thread instead of being copied. */

/**
 * The buffers under the typed arrays anywhere in `value` that hold one array and nothing else: a buffer with several
 * views (an artefact read from a file) belongs to all of them, and shared memory needs no moving.
 */
export function ownBuffers(value: unknown): ArrayBuffer[] {
  const buffers = new Set<ArrayBuffer>();
  const visit = (at: unknown): void => {
    if (ArrayBuffer.isView(at)) {
      const { buffer, byteLength } = at;
      if (buffer instanceof ArrayBuffer && buffer.byteLength === byteLength) buffers.add(buffer);
    } else if (typeof at === "object" && at !== null) {
      for (const inner of Object.values(at)) visit(inner);
    }
  };
  visit(value);
  return [...buffers];
}
