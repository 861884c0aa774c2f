/** The layers of docs/architecture.md, as rules: who may import whom, and no cycles anywhere. */
const layers = {
  core: [],
  runtime: ["core"],
  engine: ["core"],
  compress: ["core", "engine"],
  evaluate: ["core"],
  hub: ["core"],
  cli: ["core", "runtime", "engine", "compress", "evaluate", "hub"],
};

/** npm names lead to packages/<name>/dist through the workspace links; both spellings are the same layer. */
const layerRules = Object.entries(layers).map(([name, allowed]) => ({
  name: `layer-${name}`,
  comment: `packages/${name} may import only ${[name, ...allowed].join(", ")} of ours`,
  severity: "error",
  from: { path: `^packages/${name}/src/` },
  to: { path: "^packages/", pathNot: [name, ...allowed].map((layer) => `^packages/${layer}/`) },
}));

module.exports = {
  forbidden: [
    { name: "no-cycles", severity: "error", from: {}, to: { circular: true } },
    {
      name: "browser-packages-stay-browser",
      comment: "core and runtime run in the browser: node: modules only in their Node entries",
      severity: "error",
      from: {
        path: "^packages/(core|runtime)/src/",
        pathNot: "(/node/|/node\\.ts$|[.-]node\\.ts$|\\.test\\.ts$)",
      },
      to: { dependencyTypes: ["core"] },
    },
    {
      name: "no-orphans",
      severity: "error",
      from: { orphan: true, pathNot: ["\\.test\\.ts$", "\\.d\\.ts$", "types\\.ts$", "/test/"] },
      to: {},
    },
    ...layerRules,
  ],
  options: {
    doNotFollow: { path: ["node_modules", "dist"] },
    exclude: { path: ["dist/", "/assembly/", "/generated/", "/scripts/", "/bin/"] },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: "tsconfig.eslint.json" },
    enhancedResolveOptions: { exportsFields: ["exports"], conditionNames: ["import", "types", "default"] },
  },
};
