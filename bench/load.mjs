// Calls with messages that differ, and streams, which h2load cannot make.
//
// node load.mjs HOST:PORT PATH FRAMES CONNECTIONS IN_FLIGHT CALLS WINDOW
//
// FRAMES is a file of gRPC frames, which are sent in turn. Each connection has IN_FLIGHT unary calls
// at a time or, where WINDOW is not 0, one stream with so many items that are not answered yet.
// Prints {"calls", "per_second", "p50_us", "p99_us", "codes"}; codes are those of gRPC, and an item
// counts with OK when it is answered, else with the code that its stream ended with.
import fs from 'node:fs';
import http2 from 'node:http2';
import { performance } from 'node:perf_hooks';

const [, , address, path, file, ...numbers] = process.argv;
const [connections, inFlight, calls, window] = numbers.map(Number);
const PREFIX = 5;

function framesOf(data) {
  const frames = [];
  for (let at = 0; at < data.length; ) {
    const size = PREFIX + data.readUInt32BE(at + 1);
    frames.push(data.subarray(at, at + size));
    at += size;
  }
  return frames;
}

const frames = framesOf(fs.readFileSync(file));
const times = [];
const codes = {};
let sent = 0;

const next = () => frames[sent++ % frames.length];

function note(begun, code) {
  times.push(performance.now() - begun);
  codes[code] = (codes[code] ?? 0) + 1;
}

function open(session) {
  const request = session.request({
    ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers',
  });
  request.status = undefined;
  const take = (headers) => { request.status = headers['grpc-status'] ?? request.status; };
  request.on('response', take); // a call that is refused at once has no trailers of its own
  request.on('trailers', take);
  return request;
}

const call = (session) => new Promise((resolve, reject) => {
  const begun = performance.now();
  const request = open(session);
  request.on('data', () => {});
  request.on('error', reject);
  request.on('end', () => { note(begun, request.status ?? 'none'); resolve(); });
  request.end(next());
});

async function callInTurn(session) {
  while (sent < calls) await call(session);
}

const stream = (session) => new Promise((resolve, reject) => {
  const request = open(session);
  const waiting = []; // when each item that is not answered yet was sent
  let answered = 0;
  let rest = Buffer.alloc(0);
  const write = () => {
    if (sent < calls) {
      waiting.push(performance.now());
      request.write(next());
    }
  };
  request.on('data', (data) => {
    rest = rest.length ? Buffer.concat([rest, data]) : data;
    while (rest.length >= PREFIX) {
      const size = PREFIX + rest.readUInt32BE(1);
      if (rest.length < size) break;
      rest = rest.subarray(size);
      note(waiting[answered++], 0);
      write();
    }
    if (answered === waiting.length) request.end();
  });
  request.on('error', reject);
  request.on('end', () => {
    for (; answered < waiting.length; answered++) note(waiting[answered], request.status ?? 'none');
    resolve();
  });
  for (let item = 0; item < window; item++) write();
  if (!waiting.length) request.end();
});

const connect = () => new Promise((resolve, reject) => {
  const session = http2.connect(`http://${address}`);
  session.once('error', reject);
  session.once('remoteSettings', () => resolve(session));
});

const sessions = await Promise.all(Array.from({ length: connections }, connect));
const begun = performance.now();
await Promise.all(sessions.flatMap((session) => (window
  ? [stream(session)]
  : Array.from({ length: inFlight }, () => callInTurn(session)))));
const seconds = (performance.now() - begun) / 1000;
times.sort((one, other) => one - other);
const at = (part) => times[Math.min(Math.floor(times.length * part), times.length - 1)] * 1000;
console.log(JSON.stringify({
  calls: times.length, per_second: times.length / seconds, p50_us: at(0.5), p99_us: at(0.99), codes,
}));
for (const session of sessions) session.close();
