import { describe, expect, it } from "vitest";

import { nextCursor } from "../api/client";
import { addressOf, ago, elapsed, emojiOf } from "../lib/text";
import { space } from "./hub";

describe("text", () => {
  it.each([
    [-5, "0 s"],
    [59_999, "59 s"],
    [200_000, "3 min 20 s"],
    [600_000, "10 min"],
    [7_500_000, "2 h 5 min"],
  ])("elapsed(%i) is %s", (ms, text) => expect(elapsed(ms)).toBe(text));

  it.each([
    [30, "just now"],
    [3 * 60, "3 minutes ago"],
    [26 * 3600, "yesterday"],
  ])("%i seconds ago is %s", (seconds, text) => {
    const now = Date.parse("2026-01-02T00:00:00Z");
    expect(ago(new Date(now - seconds * 1000).toISOString(), now)).toBe(text);
  });

  it("has no word for a date that is none", () => expect(ago("soon", 0)).toBe(""));

  it.each([
    ["👩‍👩‍👧‍👦", "👩‍👩‍👧‍👦"],
    ["🚀🚀", "🚀"],
    ["Z" + "\u0301".repeat(50), ""],
    ["", "D"],
  ])("draws one emoji of %j", (emoji, drawn) => {
    expect(emojiOf(space("ada/demo", "RUNNING", { cardData: { emoji } }))).toBe(drawn);
  });

  it.each([
    ["/docs?x=1", "http://ada-demo.localhost:8080/docs?x=1"],
    [undefined, "http://ada-demo.localhost:8080/"],
    [7, "http://ada-demo.localhost:8080/"],
    ["//evil.example/docs", "http://ada-demo.localhost:8080/"],
  ])("opens the app at %j", (base_path, address) => {
    expect(addressOf(space("ada/demo", "RUNNING", { cardData: { base_path } as never }))).toBe(address);
  });

  it.each([
    [null, undefined],
    ['<http://hub/api/spaces?cursor=a%2Fb>; rel="next"', "a/b"],
    ['<http://hub/api/spaces?cursor=a>; rel="prev"', undefined],
    ['<http://hub/?cursor=a>; rel="prev", <http://hub/?cursor=b>; rel="next"', "b"],
  ])("reads the cursor of %j", (link, cursor) => expect(nextCursor(link)).toBe(cursor));
});
