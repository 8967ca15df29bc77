// lastIndex answers the last index below a length for which ok holds, or -1. Those for which it holds come first.
export function lastIndex (length, ok) {
  let low = -1
  let high = length - 1
  while (low < high) {
    const mid = (low + high + 1) >> 1
    if (ok(mid)) low = mid
    else high = mid - 1
  }
  return low
}
