import assert from "node:assert/strict";
import { histogram } from "./histogram";

assert.deepEqual(histogram("3 1, 3; x"), [
  { value: 1, count: 1 },
  { value: 3, count: 2 },
]);
assert.deepEqual(histogram(""), []);
console.log("histogram: ok");
