// Loaded before an example that example.py runs. An example would listen on every address and outlive whoever started
// it: here it serves the socket that it was given, and ends when its standard input does.
import { Server } from "node:net";

const { listen } = Server.prototype;
Server.prototype.listen = function (port, ...rest) {
  return listen.call(this, { fd: Number(process.env.LISTEN_FD) }, ...rest);
};
process.stdin.on("end", () => process.exit()).resume();
