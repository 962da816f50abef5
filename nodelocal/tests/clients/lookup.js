// Looks up names, one a line of its input, with c-ares, which does not walk
// the search list here: prints the name and its addresses, or `-`.
const { Resolver } = require("dns").promises;
const lines = require("readline").createInterface({ input: process.stdin });

(async () => {
  const resolver = new Resolver();
  for await (const name of lines) {
    const found = await Promise.allSettled([resolver.resolve4(name), resolver.resolve6(name)]);
    const addresses = found.flatMap((one) => one.value ?? []);
    console.log([name, ...(addresses.length ? addresses : ["-"])].join(" "));
  }
})();
