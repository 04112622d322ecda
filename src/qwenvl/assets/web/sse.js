/** Server-sent events out of a fetched body: EventSource can neither POST nor stop with an AbortController. */

/**
 * The `data` of each event as it comes.
 * @param {ReadableStream<Uint8Array>} body
 * @returns {AsyncGenerator<string>}
 */
export async function* events(body) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let kept = "";
  let data = [];
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      kept += decoder.decode(value, { stream: true }); // a character's bytes may come apart
      // A \r may be the first half of a \r\n whose rest has not come.
      const lines = kept.split(/\r\n|\n|\r(?!$)/);
      kept = lines.pop() ?? "";
      for (const line of lines) {
        if (line === "") {
          if (data.length) yield data.join("\n");
          data = [];
        } else if (line.startsWith("data:")) {
          data.push(line.slice(5).replace(/^ /, ""));
        }
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
