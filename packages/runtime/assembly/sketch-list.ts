// A list of the best (value, row) pairs seen so far: a heap with the worst of them on top. Equal values: the lower row is better.
import { LIST_HEAD_BYTES } from "../src/abi";

// @ts-ignore: decorator
@inline
function place(list: usize, index: i32): usize {
  return list + LIST_HEAD_BYTES + (<usize>index << 3);
}

// @ts-ignore: decorator
@inline
function worse(value: f32, row: i32, than: f32, thanRow: i32): bool {
  return value < than || (value == than && row > thanRow);
}

// @ts-ignore: decorator
@inline
function put(at: usize, value: f32, row: i32): void {
  store<f32>(at, value);
  store<i32>(at, row, 4);
}

/** The value that a newcomer must reach: of the worst kept, once the list is full. */
export function listFloor(list: usize, capacity: i32): f32 {
  return load<i32>(list) < capacity ? -Infinity : load<f32>(place(list, 0));
}

export function offer(list: usize, capacity: i32, value: f32, row: i32): void {
  let count = load<i32>(list), at = 0;
  if (count < capacity) {
    for (at = count; at > 0; ) {
      const parent = (at - 1) >> 1, p = place(list, parent);
      if (!worse(value, row, load<f32>(p), load<i32>(p, 4))) break;
      put(place(list, at), load<f32>(p), load<i32>(p, 4));
      at = parent;
    }
    store<i32>(list, count + 1);
  } else {
    const top = place(list, 0);
    if (!worse(load<f32>(top), load<i32>(top, 4), value, row)) return;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= count) break;
      let c = place(list, child);
      if (child + 1 < count && worse(load<f32>(c, 8), load<i32>(c, 12), load<f32>(c), load<i32>(c, 4))) {
        child++;
        c += 8;
      }
      if (!worse(load<f32>(c), load<i32>(c, 4), value, row)) break;
      put(place(list, at), load<f32>(c), load<i32>(c, 4));
      at = child;
    }
  }
  put(place(list, at), value, row);
}
