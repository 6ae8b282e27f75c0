export function runVectors() { return 1; }
