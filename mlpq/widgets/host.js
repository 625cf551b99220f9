// Brings the explorers of a page to life where no kernel runs: each twin gets a model made of its own JSON.
(() => {
  const model = (state) => {
    const listeners = new Map();
    return {
      get: (name) => state[name],
      set: (name, value) => {
        state[name] = value;
        (listeners.get(`change:${name}`) ?? []).forEach((listener) => listener());
      },
      save_changes: () => {},
      on: (event, listener) => listeners.set(event, [...(listeners.get(event) ?? []), listener]),
      off: (event, listener) => listeners.set(event, (listeners.get(event) ?? []).filter((one) => one !== listener)),
    };
  };
  const modules = {};
  const load = (name) =>
    // A module cannot be imported from file://, but from a blob it can.
    (modules[name] ??= import(URL.createObjectURL(new Blob([window.mlpqExplorers[name]], { type: "text/javascript" }))));

  for (const el of document.querySelectorAll("div.mlpq-explorer")) {
    const state = JSON.parse(el.querySelector("script").textContent);
    load(el.dataset.explorer).then((module) => module.default.render({ model: model(state), el }));
  }
})();
