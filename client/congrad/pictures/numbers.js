/* How numbers are said: with a minus sign, and thin spaces between thousands. */

const minus = (text) => text.replace("-", "−");
export const number = (digits) => (value) => minus(value.toFixed(digits)).replace(/^−(0\.?0*)$/, "$1");
export const hundredths = (value) =>
  Math.abs(value) < 0.005 ? "0" : minus(value.toFixed(2)).replace("0.", ".").replace("1.00", "1");
export const percent = (share) => `${Math.round(100 * share)} %`;
export const count = (value) => value.toLocaleString("en").replaceAll(",", "\u202f");
export const significant = (value) => minus(d3.format(".3~g")(value));
