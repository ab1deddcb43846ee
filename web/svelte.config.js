import { vitePreprocess } from "@sveltejs/vite-plugin-svelte";

export default {
  preprocess: vitePreprocess(),
  // Style sheets are files of their own: the content security policy forbids style elements.
  compilerOptions: { css: "external" },
};
