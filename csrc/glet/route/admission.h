#pragma once

namespace glet::route {

// Lets a part of a model's requests in, spread evenly: of any k in a row, k times the part to
// within one, as the pixels of a line (Bresenham, IBM Systems Journal 4(1), 1965). Drawn by chance,
// a burst could be let in whole; counted, bursts and quiet spells lose the same part.
class Admission {
 public:
  // Throws ArgumentError unless 0 <= part <= 1.
  static void check(double part);
  void set_part(double part);
  double part() const { return 1.0 - shed_; }

  // Whether the next request is let in.
  bool admit() {
    owed_ += shed_;
    if (owed_ < 1.0) return true;
    owed_ -= 1.0;
    return false;
  }

 private:
  double shed_ = 0.0;  // part that is refused
  double owed_ = 0.0;  // refusals, below 1
};

}  // namespace glet::route
