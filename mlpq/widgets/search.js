// The query, its ten results, and the true neighbours that are missing, each with the step that lost it: as images, or in
// words. Solid green is right and dashed orange wrong, as in the chapter's picture.
import { asPython } from "./copy.js";
import { bytes, explorer, grey, inWords, make } from "./shared.js";

const picture = () => make("canvas", { width: 28, height: 28 });

// A row of ten framed images with words below. Returns show(list of { name, right, words }).
const tray = (narrow, paint) => {
  const cells = Array.from({ length: 10 }, () => [make("div"), picture(), make("span")]);
  const node = make("div", { class: narrow ? "tray five" : "tray", role: "img" });
  for (const [cell, canvas, words] of cells) cell.append(canvas, words);
  node.append(...cells.map(([cell]) => cell));
  const show = (list, label) => {
    node.setAttribute("aria-label", label);
    cells.forEach(([cell, canvas, words], i) => {
      cell.className = list[i] ? (list[i].right ? "right" : "wrong") : "empty";
      words.textContent = list[i]?.words ?? "";
      if (list[i]) paint(canvas, list[i].name);
    });
  };
  return { node, show };
};

const inImages = (figure, data, narrow) => {
  let images; // of a point that a kernel computed; those of recorded points are shared
  const paint = (canvas, name) => {
    const pixels = bytes((images ?? data.shared.images)[name]);
    grey(canvas, pixels.map((value) => 255 - value)); // ink on white
  };
  const query = picture();
  query.setAttribute("role", "img");
  const [results, missing] = [tray(narrow, paint), tray(narrow, paint)];
  missing.node.classList.add("lost");
  const heading = make("p", { class: "heading" });
  const legend = make("p", {}, "The query. Below it what the search returns: ",
    make("span", { class: "right" }, "✓ in a solid frame"), " is one of the true ten, ",
    make("span", { class: "wrong" }, "✗ in a dashed one"), " is not. The number is its true place.");
  figure.append(
    make("div", { class: "asked" }, query, legend),
    make("p", { class: "heading" }, "Ten results, nearest first"), results.node,
    heading, missing.node,
  );

  return (point, now, words) => {
    images = point.images;
    query.setAttribute("aria-label", `Query: ${words.query}`);
    paint(query, point.image);
    const found = point.ids.map((name, i) => {
      const [verdict, place] = point.marks[i].split(": ");
      return { name, right: verdict === "right", words: `${verdict === "right" ? "✓" : "✗"} ${place}` };
    });
    results.show(found, `Results, nearest first, with their true places: ${point.marks.join("; ")}`);
    const lost = point.fates.flatMap((fate, i) =>
      fate.startsWith("found") ? [] : [`true ${i + 1}\n${fate.replace(": ", ":\n")}`]);
    heading.textContent = lost.length ? "True neighbours that are missing, and why" : "No true neighbour is missing";
    const cells = lost.map((words, i) => ({ name: point.missing[i], right: false, words }));
    missing.show(cells, lost.join("; ") || "None is missing");
  };
};

export default explorer(
  (figure, data, narrow) => (data.shared.images ? inImages : inWords)(figure, data, narrow), undefined, asPython,
);
