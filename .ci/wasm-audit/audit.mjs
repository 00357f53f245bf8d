// Audits a native node's answer inside the WebAssembly module.
// node audit.mjs MODULE ARTIFACT RECEIPT PAYLOAD KEY OPENING: reads receipt and payload by
// docs/spec/receipt.md, checks with Node's own hashes that they belong together, and then that the
// light audit passes, that it refuses the opening with one element altered, and that a replay gives
// the root that the receipt has blinded.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';

const [module, ...files] = process.argv.slice(2);
const [artifact, receipt, payload, key, opening] = files.map((file) => readFileSync(file));
const { instance } = await WebAssembly.instantiate(readFileSync(module), {});
const { memory, reserve, hold, light, replayed } = instance.exports;

const put = (bytes) => {
  const address = reserve(bytes.length);
  new Uint8Array(memory.buffer).set(bytes, address);
  return [address, bytes.length];
};
const get = (address) => {
  const size = new DataView(memory.buffer).getUint32(address, true);
  return Buffer.from(new Uint8Array(memory.buffer, address + 4, size)).toString();
};
const hash = (tag, ...parts) => {
  const sum = createHash('sha256').update(tag);
  parts.forEach((part) => sum.update(part));
  return sum.digest();
};
const same = (what, found, right) => {
  if (!found.equals(right)) throw new Error(`${what} of the receipt is not that of the payload`);
};

// The payload, by section 4.
let at = 0;
const take = (size) => payload.subarray(at, (at += size));
const word = () => take(4).readUInt32LE();
const list = (size) => {
  const count = word();
  return { count, bytes: take(count * size) };
};
const counted = ({ count, bytes }) => {
  const head = Buffer.alloc(4);
  head.writeUInt32LE(count);
  return Buffer.concat([head, bytes]);
};
const prompt = counted(list(4));
word();
list(4);
const numbers = take(28);
if (list(8).count !== 0) throw new Error('this reads payloads without biases');
take(1 + 32 + 4 + 32);
const said = take(4);
const output = counted(list(4));
if (take(1)[0] !== 1) throw new Error('the root is still hidden');
const blinding = take(32);

// The receipt, after the byte 1.
const field = (offset, size) => receipt.subarray(1 + offset, 1 + offset + size);
same('prompt', field(474, 32), hash('mashaa/audit/prompt/v1', prompt));
same('output', field(550, 32), hash('mashaa/audit/output/v1', output));
const run = put(Buffer.concat([said, prompt, output, numbers, field(442, 32)]));
const blind = (root) => hash('mashaa/audit/blind/v1', blinding, root);
const id = hash('mashaa/audit/receipt/v1', receipt.subarray(1, 628));
const tag = 'mashaa/audit/opening/v1'.length;
same('id in the opening', opening.subarray(tag, tag + 32), id);
same('blinded root', field(587, 32), blind(opening.subarray(tag + 32, tag + 64)));

if (get(hold(...put(key))) !== 'right') throw new Error('the key is not read');
const inside = put(opening);
const audit = (times) => {
  const started = performance.now();
  const found = get(light(...inside, ...run, times));
  if (found !== 'right') throw new Error(`an honest position: ${found}`);
  return performance.now() - started;
};
// What one check takes, without reading the opening: of 41 samples of 10 checks.
audit(20);
const samples = Array.from({ length: 41 }, () => (audit(11) - audit(1)) / 10);
const sorted = Float64Array.from(samples).sort();
const [best, median] = [sorted[0], sorted[20]];
// The last byte is of the last sum, a logit's.
const altered = Buffer.from(opening);
altered[altered.length - 2] ^= 1;
const found = get(light(...put(altered), ...run, 1));
if (!found.startsWith('a product of layer')) throw new Error(`an altered element: ${found}`);
const root = get(replayed(...put(artifact), ...run));
if (!/^[0-9a-f]{64}$/.test(root)) throw new Error(`the replay: ${root}`);
same('replayed root', field(587, 32), blind(Buffer.from(root, 'hex')));
const times = `median ${median.toFixed(2)} ms, best ${best.toFixed(2)} ms`;
console.log(`light audit right in ${times}, an altered element refused, replayed root equal`);
