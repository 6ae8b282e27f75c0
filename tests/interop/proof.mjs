export function checkProof() { return { verdict: "refused", reason: "form" }; }
