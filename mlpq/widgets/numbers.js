// Numbers in words, as Python writes them; and log-odds.

// With so many digits, and commas: halves, which toFixed rounds up, go to the even digit.
export const fixed = (x, digits) => {
  const up = x.toFixed(digits);
  const tie = (x * 2 ** (digits + 1)) % 2 === 1;
  const [whole, rest] = (tie && up.at(-1) % 2 ? (x - 0.001).toFixed(digits) : up).split(".");
  return whole.replace(/\B(?=(\d{3})+$)/g, ",") + (rest ? `.${rest}` : "");
};

// Bytes: as mlpq.plots.format_bytes.
export const said = (n) => {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let at = 0;
  for (; n >= 999.5 && at < 5; at++) n /= 1000;
  return `${fixed(n, at === 0 || n >= 100 ? 0 : 1)} ${units[at]}`;
};

// The logarithm of the odds of a share; nothing and all count as one of a thousand.
export const odds = (share) => Math.log(Math.max(share, 0.001) / Math.max(1 - share, 0.001));
