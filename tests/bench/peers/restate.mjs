// The workloads of tests/bench/workloads.py as handlers of Restate, with as many durable steps as there.
import http from "node:http";
import http2 from "node:http2";
import * as restate from "@restatedev/restate-sdk";

const TARGET = process.env.TARGET;
// Costs less than fetch() does.
const agent = new http.Agent({ keepAlive: true });

function call(method, path, content) {
  const body = content === undefined ? "" : JSON.stringify(content);
  const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(body) };
  return new Promise((resolve, reject) => {
    const request = http.request(TARGET + path, { method, agent, headers }, (response) => {
      const parts = [];
      response.on("error", reject);
      response.on("data", (part) => parts.push(part));
      response.on("end", () => resolve(JSON.parse(Buffer.concat(parts).toString())));
    });
    request.on("error", reject);
    request.end(body);
  });
}

async function hop(ctx) {
  await ctx.run("fetch", () => call("GET", "/item"));
}

async function chain(ctx) {
  const item = await ctx.run("fetch", () => call("GET", "/item"));
  const shaped = await ctx.run("shape", () => ({ name: item.name, count: item.tags.length }));
  const announced = await ctx.run("route", () => shaped.count > 0);
  if (announced) await ctx.run("announce", () => call("POST", "/announce", shaped));
}

async function ten(ctx) {
  for (let n = 0; n < 10; n++) await ctx.run(`step-${n}`, () => n);
}

const bench = restate.service({ name: "bench", handlers: { hop, chain, ten } });
const server = http2.createServer(restate.createEndpointHandler({ services: [bench] }));
server.listen(0, "127.0.0.1", () => console.log(`listening on ${server.address().port}`));
