// Bundle the page: names carry a hash of the content, so that browsers may keep the files for ever.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { parse } from "node:path";

const [target] = process.argv.slice(2);
mkdirSync(`${target}/assets`, { recursive: true });
const page = readFileSync("src/index.html", "utf8").replace(/%(.+?)%/g, (_, name) => {
  const content = execFileSync("esbuild", [`src/${name}`, "--bundle", "--minify", "--target=es2020"]);
  const digest = createHash("sha256").update(content).digest("hex").slice(0, 8);
  const file = `assets/${parse(name).name}-${digest}${name.endsWith(".css") ? ".css" : ".js"}`;
  writeFileSync(`${target}/${file}`, content);
  console.log(`${file} ${content.length} bytes`);
  return file;
});
writeFileSync(`${target}/index.html`, page);
