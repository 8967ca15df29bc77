// readLog reads the packed form of GET log. Its format is in ingest/api_log.go. Times are milliseconds since 1970; users and conns are
// indexes into their names, 0 for none.
export function readLog (bytes) {
  let at = 0
  const uint = () => {
    let n = 0
    for (let power = 1; ; power *= 128) {
      if (at >= bytes.length) throw new Error('the log ends too early')
      const c = bytes[at++]
      n += (c & 0x7f) * power
      if (c < 0x80) return n
      if (power > 2 ** 49) throw new Error('a number is too large')
    }
  }
  const int = () => {
    const n = uint()
    return n % 2 ? -(n + 1) / 2 : n / 2
  }
  const piece = () => {
    const n = uint()
    if (n > bytes.length - at) throw new Error('the log ends too early')
    return bytes.subarray(at, at += n)
  }
  const name = names => {
    const n = uint()
    if (n === names.length) names.push(new TextDecoder().decode(piece()))
    if (n >= names.length) throw new Error('a name is missing')
    return n
  }
  const seqs = []
  const times = []
  const users = []
  const conns = []
  const updates = []
  const userNames = ['']
  const connNames = ['']
  let seq = 0
  let time = 0
  for (let step = uint(); step > 0; step = uint()) {
    seqs.push(seq += step)
    times.push(time += int())
    users.push(name(userNames))
    conns.push(name(connNames))
    uint()
    updates.push(piece())
  }
  return { seqs: Float64Array.from(seqs), times: Float64Array.from(times), users: Uint32Array.from(users), conns: Uint32Array.from(conns), updates, userNames, connNames }
}
