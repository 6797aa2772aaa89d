// Checks Istio's resources in YAML files against the schemas of its CRDs: node validate.mjs FILE...
// Prints a line for everything that is wrong, then a count; ends with 1 if anything is, or if there was nothing to check.
import { readFileSync } from "node:fs";
import { loadAll } from "js-yaml";

// What Envoy is given as it stands: the schemas of Istio say nothing of it.
const FREE = /^spec\.configPatches\.\d+\.patch\.value$/;
const GROUP = /^[a-z]+\.istio\.io$/;
let checked = 0;
const problems = [];

for (const file of process.argv.slice(2)) {
  for (const resource of loadAll(readFileSync(file, "utf8"))) {
    const [group, version] = resource.apiVersion.split("/");
    if (!GROUP.test(group)) continue;
    checked += 1;
    const found = await faults(resource, group, version);
    problems.push(...found.map((fault) => `${file}: ${resource.kind} ${resource.metadata.name}: ${fault}`));
  }
}
for (const problem of problems) console.log(problem);
console.log(`${checked} resources checked, ${problems.length} problems`);
process.exit(problems.length || !checked ? 1 : 0);

async function faults(resource, group, version) {
  const models = await import(`@kubernetes-models/istio/${group}/${version}/${resource.kind}`).catch(() => ({}));
  const Model = models[resource.kind];
  if (!Model) return [`there is no schema of ${resource.apiVersion}`];
  const unread = new Set();
  const model = new Model(resource);
  model.spec = watched(resource.spec ?? {}, "spec", unread);
  try {
    model.validate();
  } catch (error) {
    return [error.message];
  }
  return [...unread].map((field) => `${field} is no field of it`);
}

// The validators pass over fields they do not know, so what they never looked at is such a field.
function watched(value, path, unread) {
  if (typeof value !== "object" || value === null || FREE.test(path)) return value;
  const inner = Array.isArray(value) ? [] : {};
  for (const [key, child] of Object.entries(value)) {
    const field = `${path}.${key}`;
    if (!Array.isArray(value)) unread.add(field);
    inner[key] = watched(child, field, unread);
  }
  return new Proxy(inner, {
    get(target, key) {
      unread.delete(`${path}.${String(key)}`);
      return target[key];
    },
  });
}
