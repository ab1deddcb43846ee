import { svelte } from "@sveltejs/vite-plugin-svelte";
import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";

/** The content security policy has no inline code and no other host: a build that needs either fails. */
const strictHtml: Plugin = {
  name: "strict-html",
  apply: "build",
  transformIndexHtml: {
    order: "post",
    handler(html) {
      const broken = html.match(/<script(?![^>]*\ssrc=)[^>]*>|<style[^>]*>|\s(?:style|on\w+)=|(?:src|href)="(?:https?:)?\/\/[^"]*"/i);
      if (broken) throw new Error(`index.html breaks the content security policy: ${broken[0]}`);
    },
  },
};

export default defineConfig({
  plugins: [svelte(), strictHtml],
  build: {
    // A data: URL in a style sheet or script would need a wider content security policy.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  server: {
    port: 5173,
    // `cargo xtask dev` or any running hub; all API paths live under /api/.
    proxy: { "/api": process.env.SPACEPORT_HUB_URL ?? "http://localhost:8080" },
  },
  // Tests mount the components as a browser does.
  resolve: process.env.VITEST ? { conditions: ["browser"] } : {},
  test: { environment: "happy-dom", include: ["src/test/**/*.test.ts"] },
});
