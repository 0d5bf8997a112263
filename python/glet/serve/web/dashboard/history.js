// The last minutes, put together from what the server tells of them piece by piece.

const KEPT_S = 300;

export class History {
  constructor() {
    this.clear();
  }

  clear() {
    this.seq = 0;
    this.times = [];
    this.models = new Map();
  }

  // `told` is `history` of state.json. A server that was started again counts anew: all of it is
  // asked for next.
  add(told, nowS) {
    if (told.seq < this.seq) return this.clear();
    for (const [at, ago] of told.ago_s.entries()) {
      this.times.push(nowS - ago);
      for (const name of Object.keys(told.models)) this.column(name);
      for (const [name, columns] of this.models) {
        for (const [field, column] of Object.entries(columns)) column.push(told.models[name]?.[field][at] ?? null);
      }
    }
    this.seq = Math.max(told.seq, 0);
    const old = this.times.findIndex((time) => time >= nowS - KEPT_S);
    if (old > 0) {
      this.times.splice(0, old);
      for (const columns of this.models.values()) for (const column of Object.values(columns)) column.splice(0, old);
    }
    this.nowS = nowS;
  }

  agoS() {
    return this.times.map((time) => this.nowS - time);
  }

  // Of a model that is new, nothing is known of the time before; one time has been added for it.
  column(name) {
    if (this.models.has(name)) return;
    const fields = ["offered_rps", "goodput_rps", "refused_rps", "p50_ms", "p99_ms"];
    this.models.set(name, Object.fromEntries(fields.map((field) => [field, Array(this.times.length - 1).fill(null)])));
  }
}
