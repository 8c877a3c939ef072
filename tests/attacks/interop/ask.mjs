// Asks what comes on standard input, one question a line, and prints each answer as a line of JSON.
//
//     node ask.mjs PROTO_DIRECTORY TARGET [CA CERT KEY] < questions
//
// A question is {"method": "package.Service/Method", "key": "...", "requests": [...]}, its answer
// {"status": {...}, "answers": [...]}: numbers of 64 bits as texts, every Any unpacked.

import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import grpc from '@grpc/grpc-js';
import loader from '@grpc/proto-loader';

const [proto, target, ...files] = process.argv.slice(2);
const types = loader.loadSync(
  [
    'google/rpc/error_details.proto',
    'google/rpc/status.proto',
    'liquidation/v1/claim_service.proto',
    'liquidation/v1/errors.proto',
    'liquidation/v1/liquidation_service.proto',
    'liquidation/v1/rules_service.proto',
  ],
  { includeDirs: [proto], keepCase: true, longs: String, enums: String },
);
const credentials = files.length
  ? grpc.credentials.createSsl(...[0, 2, 1].map((each) => readFileSync(files[each])))
  : grpc.credentials.createInsecure();
const client = new grpc.Client(target, credentials);

function unpacked(value) {
  if (value === null || typeof value !== 'object') return value;
  if (Array.isArray(value)) return value.map(unpacked);
  if ('type_url' in value) {
    const type = types[value.type_url.split('/').pop()];
    return { '@type': value.type_url, ...unpacked(type.deserialize(value.value)) };
  }
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, unpacked(each)]));
}

function statusOf({ code, details, metadata }) {
  const [trailer] = metadata?.get('grpc-status-details-bin') ?? [];
  // Both are said twice, by gRPC itself and in the trailer: what differs must be seen.
  const told = trailer ? unpacked(types['google.rpc.Status'].deserialize(trailer)) : {};
  return { ...told, code, message: details, told_code: told.code, told_message: told.message };
}

function answerTo({ method, key, requests }) {
  const [service, name] = method.split('/');
  const { path, requestSerialize, responseDeserialize, responseStream } = types[service][name];
  const metadata = new grpc.Metadata();
  if (key) metadata.set('authorization', `Bearer ${key}`);
  const codecs = [path, requestSerialize, responseDeserialize];
  const options = { deadline: Date.now() + 30_000 };
  return new Promise((resolve) => {
    const answers = [];
    const answered = (answer) => answers.push(unpacked(answer));
    const ended = (status) => resolve({ status: statusOf(status), answers });
    if (!responseStream) {
      client
        .makeUnaryRequest(...codecs, requests[0], metadata, options, (error, answer) => {
          if (!error) answered(answer);
        })
        .on('status', ended);
      return;
    }
    const call = client.makeBidiStreamRequest(...codecs, metadata, options);
    call.on('data', answered);
    call.on('error', () => {}); // it comes as the status too
    call.on('status', ended);
    for (const request of requests) call.write(request);
    call.end();
  });
}

for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await answerTo(JSON.parse(line))));
}
client.close();
