// What a search among texts returns, beside the true ten, each with what became of it.
import { asPython } from "./copy.js";
import { explorer, inWords } from "./shared.js";

export default explorer(inWords, undefined, asPython);
