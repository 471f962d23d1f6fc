import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { defineConfig, type Plugin } from "vite";

// LiteRT picks the second pair where a browser lacks relaxed SIMD, and finds both by name beside each other.
const RUNTIME_FILES = ["litert_wasm_internal", "litert_wasm_compat_internal"].flatMap((name) => [
  `${name}.js`,
  `${name}.wasm`,
]);

/** Copies the interpreter out of its package, unchanged and under its own name, so that nothing comes from elsewhere. */
function copyRuntime(): Plugin {
  return {
    name: "copy-litert-runtime",
    apply: "build",
    generateBundle() {
      for (const name of RUNTIME_FILES) {
        const file = fileURLToPath(new URL(`node_modules/@litertjs/core/wasm/${name}`, import.meta.url));
        this.emitFile({ type: "asset", fileName: `wasm/${name}`, source: readFileSync(file) });
      }
    },
  };
}

export default defineConfig({
  base: "./", // the page may lie in any folder of any host
  plugins: [copyRuntime()],
  build: { target: "es2022", assetsInlineLimit: 0, modulePreload: { polyfill: false } },
  test: { testTimeout: 120_000, hookTimeout: 120_000, fileParallelism: false },
} as import("vite").UserConfig);
