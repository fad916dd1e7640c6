// Loaded before an agent that others wrote, many of which listen on a port that stands in their text:
// PORTS="3000:41234 3001:41235" gives each another one, on the loopback.
import { Server } from 'node:net';

const ports = new Map(process.env.PORTS.split(' ').map(pair => pair.split(':').map(Number)));
const listen = Server.prototype.listen;
Server.prototype.listen = function (...all) {
  const [first, ...rest] = all.flat();
  const asked = typeof first === 'object' ? first.port : Number(first);
  if (!ports.has(asked)) return listen.apply(this, all);
  const port = ports.get(asked);
  this.once('listening', () => console.log(`[listening on ${port}]`));
  const called = rest.filter(one => typeof one === 'function');
  return listen.call(this, { port, host: '127.0.0.1' }, ...called);
};
