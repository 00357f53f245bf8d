// Imports a GGUF file and hashes the standard run inside the WebAssembly module.
// node wasm.mjs MODULE GGUF ARTIFACT GENERATE [PROMPT]: fails unless the artifact made here has the
// bytes of ARTIFACT past the texts, which alone name the source; prints the hash of ARTIFACT's run.
import { readFileSync } from 'node:fs';

const [module, gguf, artifact, generate, prompt] = process.argv.slice(2);
const { instance } = await WebAssembly.instantiate(readFileSync(module), {});
const { memory, reserve, import: importModel, hash } = instance.exports;

// Puts bytes into the module's memory.
function put(bytes) {
  const address = reserve(bytes.length);
  new Uint8Array(memory.buffer).set(bytes, address);
  return [address, bytes.length];
}

// Reads a 4-byte size and as many bytes.
function get(address) {
  const size = new DataView(memory.buffer).getUint32(address, true);
  return Buffer.from(new Uint8Array(memory.buffer, address + 4, size));
}

// The sections of an artifact but the texts, as kind, layer and bytes.
function sections(bytes) {
  const count = bytes.readUInt32LE(24);
  const entries = [...Array(count).keys()].map((i) => 64 + 32 * i);
  return entries
    .map((at) => {
      const offset = Number(bytes.readBigUInt64LE(at + 8));
      const size = Number(bytes.readBigUInt64LE(at + 16));
      return [bytes.readUInt32LE(at), bytes.readUInt32LE(at + 4), bytes.subarray(offset, offset + size)];
    })
    .filter(([kind]) => kind !== 2);
}

const known = readFileSync(artifact);
if (gguf !== '-') {
  const made = get(importModel(...put(readFileSync(gguf))));
  if (made.subarray(0, 5).toString() === 'error') throw new Error(made.toString());
  const [a, b] = [sections(made), sections(known)];
  const same = a.length === b.length
    && a.every(([kind, layer, bytes], i) => kind === b[i][0] && layer === b[i][1] && bytes.equals(b[i][2]));
  if (!same) {
    const differs = a.findIndex(([, , bytes], i) => !b[i] || !bytes.equals(b[i][2]));
    const [kind, layer] = a[differs] ?? [];
    throw new Error(`the artifact made in WebAssembly differs in section ${kind} of layer ${layer}`);
  }
}
const [address, size] = put(known);
console.log(get(hash(address, size, Number(prompt ?? 220), Number(generate))).toString());
