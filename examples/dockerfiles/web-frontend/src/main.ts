import { histogram } from "./histogram";

const values = document.querySelector<HTMLTextAreaElement>("#values")!;
const chart = document.querySelector<HTMLPreElement>("#chart")!;

function draw(): void {
  chart.textContent = histogram(values.value)
    .map(({ value, count }) => `${String(value).padStart(6)} ${"█".repeat(count)}`)
    .join("\n");
}

values.addEventListener("input", draw);
draw();
