// What became of the true neighbours as kinds come, for the training chosen; beside it, the recall for every training.
import { entry, explorer, frame, make } from "./shared.js";

const PARTS = ["recall", "coarse", "quantization"];
const WORDS = ["found", "lost to cells", "lost to codes"];
const round = (number) => Math.round(10 * number) / 10;

export default explorer((figure, data, narrow) => {
  const [width, height] = [narrow ? 300 : 345, 240];
  const [fate, lines] = [make("svg", { class: "chart drift" }), make("svg", { class: "chart drift" })];
  const [trainings, stages] = data.controls.map(({ recorded }) => recorded);
  const square = (name) => make("rect", { x: 3, y: 1, width: 12, height: 12, class: name });
  figure.append(fate, lines, make("div", { class: "legend drift" },
    ...PARTS.map((part, i) => entry(WORDS[i], square(part))),
    entry("recall, as trained here", make("path", { d: "M1 7h16", class: "trail now" })),
    entry("trained otherwise", make("path", { d: "M1 7h16", class: "trail" })),
    entry("kinds not seen in training", make("path", { d: "M1 7h16", class: "unseen" }))));
  const at = (trained, present) => data.points[[trained, present]];
  const x = { from: stages[0] - 0.5, to: stages.at(-1) + 0.5, ticks: stages, label: "kinds in the base" };
  const all = Object.values(data.points).flatMap(({ parts, unseen }) => [parts[0], unseen ?? 1]);
  const least = Math.floor(10 * Math.min(...all)) / 10;
  const share = { from: 0, to: 1, ticks: [0, 0.5, 1], label: "share of the true ten" };
  const recall = { from: least, to: 1, ticks: [0.2, 0.4, 0.6, 0.8, 1].filter((tick) => tick >= least), label: "recall@10" };

  return (point, { trained, present }) => {
    const bars = frame(fate, { width, height, x, y: share });
    const wide = 0.7 * (bars.px(1) - bars.px(0));
    for (const stage of stages) {
      let from = 0;
      at(trained, stage).parts.forEach((part, i) => {
        const top = bars.py(from + part);
        fate.append(make("rect", {
          x: round(bars.px(stage) - wide / 2), y: round(top), width: round(wide), height: round(bars.py(from) - top),
          class: stage === present ? PARTS[i] : `${PARTS[i]} faint`,
        }));
        from += part;
      });
    }
    fate.setAttribute("aria-label", `Trained ${trained}: ${stages.map((stage) =>
      `${stage} kinds, ${at(trained, stage).parts.map((part, i) => `${WORDS[i]} ${part}`).join(", ")}`).join("; ")}`);

    const { px, py } = frame(lines, { width, height, x, y: recall });
    const line = (places, name) => make("polyline", { points: places.map((one) => one.map(round).join(",")).join(" "), class: name });
    trainings.forEach((one) => {
      const places = stages.map((stage) => [px(stage), py(at(one, stage).parts[0])]);
      lines.append(line(places, one === trained ? "trail now" : "trail"));
    });
    const unseen = stages.filter((stage) => at(trained, stage).unseen !== null);
    if (unseen.length) lines.append(line(unseen.map((stage) => [px(stage), py(at(trained, stage).unseen)]), "unseen"));
    lines.append(make("circle", { cx: round(px(present)), cy: round(py(point.parts[0])), r: 5, class: "chosen" }));
    const ends = trainings.map((one) => [one, at(one, stages.at(-1)).parts[0]]);
    lines.setAttribute("aria-label", `Recall with all kinds in the base: ${ends.map((end) => end.join(" ")).join(", ")}`);
  };
});
