export interface Bin {
  value: number;
  count: number;
}

/** How often each number is in the text, in order. */
export function histogram(text: string): Bin[] {
  const counts = new Map<number, number>();
  for (const word of text.split(/[\s,;]+/)) {
    const value = Number.parseFloat(word);
    if (!Number.isNaN(value)) counts.set(value, (counts.get(value) ?? 0) + 1);
  }
  return [...counts].map(([value, count]) => ({ value, count })).sort((a, b) => a.value - b.value);
}
