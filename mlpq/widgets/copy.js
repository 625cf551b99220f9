// Settings as Python: the lines that build and search what an explorer shows, and a button that copies them.

export const COPY = "Copy as Python";

// A button that puts lines() on the clipboard. A browser that forbids it shows them selected, to be copied by hand.
export const copier = (lines) => {
  const button = document.createElement("button");
  Object.assign(button, { type: "button", className: "copy", textContent: COPY });
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(lines());
      button.textContent = "Copied";
    } catch {
      const shown = button.nextElementSibling ?? document.createElement("pre");
      shown.textContent = lines();
      shown.tabIndex = 0; // it may scroll sideways
      button.after(shown);
      getSelection().selectAllChildren(shown);
      button.textContent = "Selected: copy by hand";
    }
  });
  return button;
};

export const loaded = (dataset) =>
  `import mlpq\n\nds = mlpq.load_dataset("${dataset}")  # or the path of a file of yours\n`;

// An index with one codebook for all cells, and a search in it.
export const asPython = ({ m, nbits, nprobe, rerank = 0 }, { dataset, d, n_inner, n_outer }) => {
  const keep = rerank ? ", keep_originals=True" : "";
  const also = rerank ? `, rerank=${rerank}` : "";
  return `${loaded(dataset)}index = mlpq.MultiLevelPQ(${d}, ${n_inner}, ${n_outer}, m=${m}, nbits=${nbits}, metric=ds.metric${keep})
index.train(ds.xb).add(ds.xb)
D, I = index.search(ds.xq, 10, nprobe=${nprobe}${also})
print(mlpq.recall_at_k(I, ds.gt, 10), index.memory().total)
`;
};
