/* A picture as a file. Elsewhere there are no style sheets and no custom properties, so that each element takes along the
   values that it has here. */

const INHERITED = [
  "fill",
  "fill-opacity",
  "stroke",
  "stroke-opacity",
  "stroke-width",
  "stroke-linejoin",
  "stroke-linecap",
  "stroke-dasharray",
  "stroke-miterlimit",
  "paint-order",
  "font-family",
  "font-size",
  "font-weight",
  "text-anchor",
  "visibility",
];
const MARGIN = 16; // some labels stand outside a picture's own box
const SCALE = 2; // of a PNG: sharp on a slide

/* Mixed colours compute to `color(srgb 0.1 0.2 0.3)`, which few programs read. */
function plain(value) {
  return value.replace(/color\(srgb ([\d.e-]+) ([\d.e-]+) ([\d.e-]+)(?: \/ ([\d.e-]+))?\)/g, (_, ...parts) => {
    const [red, green, blue] = parts.slice(0, 3).map((part) => Math.round(255 * Number(part)));
    return parts[3] === undefined ? `rgb(${red}, ${green}, ${blue})` : `rgba(${red}, ${green}, ${blue}, ${parts[3]})`;
  });
}

function takeStyles(element, copy, inherited) {
  const style = getComputedStyle(element);
  const own = Object.fromEntries(INHERITED.map((property) => [property, plain(style.getPropertyValue(property))]));
  copy.removeAttribute("class");
  copy.removeAttribute("style");
  for (const property of INHERITED) {
    if (own[property] === inherited[property]) copy.removeAttribute(property);
    else copy.setAttribute(property, own[property]);
  }
  if (style.opacity !== "1") copy.setAttribute("opacity", style.opacity);
  [...element.children].forEach((child, index) => takeStyles(child, copy.children[index], own));
}

export function standalone(svg) {
  const copy = svg.cloneNode(true);
  takeStyles(svg, copy, {});
  copy.querySelectorAll('[aria-label="tip"]').forEach((tip) => tip.remove());
  const { width, height } = svg.viewBox.baseVal;
  const box = { x: -MARGIN, y: -MARGIN, width: Math.ceil(width) + 2 * MARGIN, height: Math.ceil(height) + 2 * MARGIN };
  const ground = document.createElementNS(svg.namespaceURI, "rect");
  const colour = plain(getComputedStyle(document.body).backgroundColor);
  for (const [name, value] of Object.entries({ ...box, fill: colour, stroke: "none" }))
    ground.setAttribute(name, value);
  copy.prepend(ground);
  copy.setAttribute("viewBox", Object.values(box).join(" "));
  copy.setAttribute("width", box.width);
  copy.setAttribute("height", box.height);
  return new XMLSerializer().serializeToString(copy);
}

const blobOf = (drawing) => new Blob([drawing], { type: "image/svg+xml" });

/* An image does not see the page's font either; a file that may be edited does without. */
function withFont(drawing) {
  const font = [...document.styleSheets[0].cssRules].find((rule) => rule instanceof CSSFontFaceRule);
  return drawing.replace(">", `><style>${font?.cssText ?? ""}</style>`);
}

export const asSvg = (svg) => blobOf(standalone(svg));

export async function asPng(svg) {
  const image = new Image();
  const url = URL.createObjectURL(blobOf(withFont(standalone(svg))));
  try {
    image.src = url;
    await image.decode();
  } finally {
    URL.revokeObjectURL(url);
  }
  const canvas = new OffscreenCanvas(image.width * SCALE, image.height * SCALE);
  const context = canvas.getContext("2d");
  context.scale(SCALE, SCALE);
  context.drawImage(image, 0, 0);
  return canvas.convertToBlob({ type: "image/png" });
}

export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000); // a browser may ask where to before it reads
}
