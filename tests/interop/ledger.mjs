export function auditBundle() { return {}; }
