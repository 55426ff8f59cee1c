/* How numbers and times are said; the pictures' words for numbers, and those that only the page needs. */

import { count, number, percent, significant } from "./pictures/pictures.js";

export { count, number, percent, significant };

export const score = number(3);

export function seconds(value) {
  if (value < 0.0995) return `${Math.round(1000 * value)} ms`;
  if (value < 9.95) return `${number(value < 0.995 ? 2 : 1)(value)} s`;
  if (value < 90) return `${Math.round(value)} s`;
  if (value < 5400) return `${Math.round(value / 60)} min`;
  return value < 129_600 ? `${Math.round(value / 3600)} h` : `${Math.round(value / 86_400)} days`;
}

/* How long ago a time of the service was; its clock may be a little ahead of this one. */
export function ago(time) {
  const past = Math.max(0, (Date.now() - new Date(time)) / 1000);
  return past < 5 ? "just now" : `${past < 60 ? Math.floor(past) + " s" : seconds(past)} ago`;
}

export const clock = (time) => new Date(time).toLocaleTimeString("en-GB");

export function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = Math.min(units.length - 1, Math.floor(Math.log2(Math.max(1, value)) / 10));
  return `${significant(value / 1024 ** power)} ${units[power]}`;
}

export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;
