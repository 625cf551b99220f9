// What a search among texts returns, beside the true ten, each with what became of it.
import { explorer, inWords } from "./shared.js";

export default explorer(inWords);
