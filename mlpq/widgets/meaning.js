// What a search among texts returns, beside the true ten, each with what became of it.
import { explorer, make } from "./shared.js";

// Ten lines of a mark, a note and a text, on one line each. Returns show(list of { right, note, text }).
const lines = (heading) => {
  const rows = Array.from({ length: 10 }, () => make("li"));
  const node = make("div", { class: "answers" }, make("p", {}, heading), make("ol", {}, ...rows));
  const show = (list) => rows.forEach((row, i) => {
    const { right, note, text } = list[i];
    const mark = make("span", { class: right ? "right" : "wrong" }, `${right ? "✓" : "✗"} ${note}`);
    row.replaceChildren(mark, make("span", { title: text }, text));
  });
  return { node, show };
};

export default explorer((figure, data, narrow) => {
  const [answers, true_] = [lines("Answers, with their true places"), lines("The true ten, with their ranks by code")];
  const both = make("div", { class: narrow ? "texts narrow" : "texts" }, answers.node, true_.node);
  figure.append(both);

  return (point) => {
    const texts = point.texts ?? data.shared.texts; // a kernel sends its own
    answers.show(point.answers.map((id, i) => ({
      right: Number(point.marks[i]) <= 10, note: point.marks[i], text: texts[id],
    })));
    true_.show(point.true.map((id, i) => ({
      right: point.fates[i] === "found", note: point.fates[i], text: texts[id],
    })));
  };
});
