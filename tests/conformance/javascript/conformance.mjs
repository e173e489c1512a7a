// Runs Microsoft's JavaScript SDK against a broker and says, check by check, whether it noticed.
//
//     node conformance.mjs "Endpoint=sb://localhost:5672;SharedAccessKeyName=…;SharedAccessKey=…;UseDevelopmentEmulator=true;"
//
// The broker must serve the queues named in `QUEUES`, empty. Every check prints one line, `ok` or
// `FAILED` with the reason; the exit code is 1 when any failed. A check is a named function of a
// module in `checks/` and leaves its queue empty. Modules have queues of their own and run side by
// side; the checks of one run one after the other. With `--only "module: title"`, as a check's line
// names it, it runs alone.

import * as bodies from "./checks/bodies.mjs";
import * as deadLetters from "./checks/dead-letters.mjs";
import * as deferring from "./checks/deferring.mjs";
import * as duplicates from "./checks/duplicates.mjs";
import * as errors from "./checks/errors.mjs";
import * as forwarding from "./checks/forwarding.mjs";
import * as locks from "./checks/locks.mjs";
import * as peeking from "./checks/peeking.mjs";
import * as receiving from "./checks/receiving.mjs";
import * as scheduling from "./checks/scheduling.mjs";
import * as sending from "./checks/sending.mjs";
import * as sessions from "./checks/sessions.mjs";

// Name, then what it must be configured with.
export const QUEUES = {
  "js-sending": "defaults",
  "js-bodies": "defaults",
  "js-receiving": "defaults",
  "js-short-lock": "lock duration 4 s",
  "js-two-tries": "max delivery count 2",
  "js-expiring": "time to live 1 s, dead-lettering on expiration",
  "js-detecting": "duplicate detection within 5 s",
  "js-errors": "defaults",
  "js-scheduling": "defaults",
  "js-peeking": "defaults",
  "js-deferring": "defaults",
  "js-plain": "defaults",
  "js-disabled": "status Disabled",
  "js-forwarding": "forwards to js-forwarded",
  "js-forwarded": "defaults",
  "js-burying": "forwards dead letters to js-buried",
  "js-buried": "defaults",
  "js-sessions": "sessions",
  "js-short-sessions": "sessions, lock duration 4 s",
};

// Those that wait for a time come first: the others keep the processor so busy that they would wait
// for too long.
const WAITING = ["locks", "deadLetters", "scheduling", "duplicates", "sessions", "forwarding"];
const MODULES = { sending, bodies, receiving, locks, deadLetters, errors, scheduling, peeking, deferring, duplicates, sessions, forwarding };

async function run(name, checks, connectionString) {
  let failures = 0;
  for (const [title, check] of checks) {
    const started = performance.now();
    let outcome = "ok    ";
    let reason = "";
    try {
      await check(connectionString);
    } catch (error) {
      failures += 1;
      outcome = "FAILED";
      reason = `\n${error.stack}`;
    }
    const took = ((performance.now() - started) / 1000).toFixed(2);
    console.log(`${outcome} ${name}: ${title} (${took} s)${reason}`);
  }
  return failures;
}

const [connectionString, option, only] = process.argv.slice(2);
if (!connectionString || (option && (option !== "--only" || !only))) {
  console.log('usage: node conformance.mjs <connection string> [--only "module: title"]');
  process.exit(64);
}
const wanted = ([name, module]) =>
  [name, Object.entries(module.checks).filter(([title]) => !only || only === `${name}: ${title}`)];
const all = Object.entries(MODULES).map(wanted);
const total = all.reduce((sum, [, checks]) => sum + checks.length, 0);
if (total === 0) {
  console.log(`there is no check ${only}`);
  process.exit(64);
}
let failures = 0;
for (const waits of [true, false]) {
  const some = all.filter(([name]) => WAITING.includes(name) === waits);
  const failed = await Promise.all(some.map(([name, checks]) => run(name, checks, connectionString)));
  failures += failed.reduce((sum, count) => sum + count, 0);
}
console.log(`${total - failures} of ${total} checks passed`);
process.exit(failures ? 1 : 0);
