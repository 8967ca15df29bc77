// What people move away from: the genuine y-partykit server code, under a socket server that does what
// PartyKit's edge does with a path. Prints the port it listens on.
import { createServer } from 'node:http'
import { WebSocketServer } from 'ws'
import { onConnect } from 'y-partykit'

const http = createServer((_, res) => res.end())
new WebSocketServer({ server: http }).on('connection', (socket, req) => {
  const { pathname } = new URL(req.url, 'http://host')
  const m = pathname.match(/^\/parties\/([^/]+)\/(.+)$/)
  if (!m) return socket.close(1008)
  socket.binaryType = 'arraybuffer'
  onConnect(socket, { id: `${m[1]} ${decodeURIComponent(m[2])}` })
})
http.listen(0, '127.0.0.1', () => console.log(http.address().port))
process.stdin.resume().on('end', () => process.exit(0))
