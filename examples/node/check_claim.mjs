// Asks for a claim from Node, then asks again with the least ratio that passes.
//
//     cd examples/node && npm install
//     node check_claim.mjs [ADDRESS]
//
// ADDRESS is that of a running server, by default 127.0.0.1:50051. The snapshot travels in the
// request, so nothing has to be stored before. proto/ is read as it is; no code is generated.

import { fileURLToPath } from 'node:url';
import grpc from '@grpc/grpc-js';
import loader from '@grpc/proto-loader';

const proto = fileURLToPath(new URL('../../proto', import.meta.url));
const types = loader.loadSync('liquidation/v1/rules_service.proto', {
  includeDirs: [proto],
  keepCase: true, // field names as in the proto files
  longs: String, // int64 does not fit a JavaScript number
  enums: String,
  defaults: true,
});
const { LiquidationRulesService } = grpc.loadPackageDefinition(types).liquidation.v1;

const snapshot = {
  liquidation_id: '101',
  account_id: 'account-1',
  tier: 'TIER_LOW',
  revision: '7',
  positions: [
    { symbol: 'PERP_BTC_USDC', position_qty: '0.5', mark_price: '40000' },
    { symbol: 'PERP_ETH_USDC', position_qty: '-4', mark_price: '2500' },
  ],
  margin_ratio: '0.008',
  maintenance_margin_ratio: '0.012',
};

function checkClaim(client, ratio) {
  const terms = {
    liquidation_id: '101',
    liquidator_id: 'liquidator-1',
    ratio_qty_request: ratio,
  };
  const options = { deadline: Date.now() + 1000 };
  return new Promise((resolve, reject) => {
    client.CheckClaim({ terms, liquidation: snapshot }, options, (error, answer) =>
      error ? reject(error) : resolve(answer),
    );
  });
}

// The exchange's form of a refusal: a detail of the google.rpc.Status that travels in a trailer.
// Undefined if the error is not the service's own.
function refusalOf(error) {
  const [trailer] = error.metadata?.get('grpc-status-details-bin') ?? [];
  if (!trailer) return undefined;
  const { details } = types['google.rpc.Status'].deserialize(trailer);
  const packed = details.find((each) => each.type_url.endsWith('/liquidation.v1.LiquidationError'));
  return packed && types['liquidation.v1.LiquidationError'].deserialize(packed.value);
}

const client = new LiquidationRulesService(
  process.argv[2] ?? '127.0.0.1:50051',
  grpc.credentials.createInsecure(),
);
let ratio = '0.3333';
try {
  await checkClaim(client, ratio);
} catch (error) {
  const refusal = refusalOf(error);
  if (!refusal) throw error;
  console.log(`refused: ${refusal.code} ${refusal.name}: ${refusal.message}`);
  ratio = refusal.decision.least_req_ratio;
}
const { decision, positions } = await checkClaim(client, ratio);
console.log(`accepted: ${ratio} of ${decision.total_notional} USDC`);
for (const { symbol, qty, notional } of positions) {
  console.log(`  ${symbol} ${qty} worth ${notional} USDC`);
}
client.close();
