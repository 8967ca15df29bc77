// What a browser has and older Nodes lack, for code that is run as it is shown to people.
import WebSocket from 'ws'
globalThis.WebSocket = WebSocket
