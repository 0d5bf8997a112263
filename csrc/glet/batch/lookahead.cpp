#include "glet/batch/lookahead.h"

#include <algorithm>
#include <limits>

namespace glet::batch {

// Later requests have later deadlines and fewer behind them, so those in time are a tail.
std::size_t Lookahead::first_in_time(std::size_t index, Nanos start, int cap,
                                     std::size_t newcomers) const {
  const auto in_time = [&](std::size_t at) {
    const std::size_t company = waiting.size() - at + newcomers;
    const int batch = static_cast<int>(std::min(company, static_cast<std::size_t>(cap)));
    return later_by(start, latency.at(batch)) <= due(at);
  };
  std::size_t low = index;
  std::size_t high = waiting.size();
  // Mostly the very first is.
  if (low >= high || in_time(low)) return low;
  while (low < high) {
    const std::size_t middle = low + (high - low) / 2;
    if (in_time(middle)) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}

int Lookahead::fitting(std::size_t index, Nanos start) const {
  const Nanos end = due(index);
  if (end <= start) return 0;
  return latency.largest_within(end == kNever ? kNever : end - start, whole(index));
}

int Lookahead::whole(std::size_t index) const {
  return static_cast<int>(std::min(waiting.size() - index, static_cast<std::size_t>(max_batch)));
}

double Lookahead::gain_of(int batch) const {
  return batch - worth_per_ns * static_cast<double>(latency.at(batch).count());
}

// Plays the queue on from `index`, giving up heads until a batch of `cap`, or all there is, fits.
double Lookahead::gain_from(std::size_t index, Nanos start, int cap) const {
  double gain = 0.0;
  while ((index = first_in_time(index, start, cap, 0)) < waiting.size()) {
    const int batch = fitting(index, start);
    gain += gain_of(batch);
    start = later_by(start, latency.at(batch));
    index += static_cast<std::size_t>(batch);
  }
  return gain;
}

std::size_t Lookahead::to_give_up(Nanos start) const {
  const std::size_t head = first_alive(start);
  if (head == waiting.size() || fitting(head, start) == whole(head)) return head;
  return best(start).given_up;
}

Lookahead::Future Lookahead::best(Nanos start) const {
  std::size_t head = first_alive(start);
  Future best{head, std::numeric_limits<double>::lowest()};
  while (head < waiting.size()) {
    const int batch = fitting(head, start);
    const Nanos end = later_by(start, latency.at(batch));
    const std::size_t next = head + static_cast<std::size_t>(batch);
    double rest = gain_from(next, end, 1);
    // Nothing is gained beyond everybody at no price.
    if (rest < static_cast<double>(waiting.size() - next)) {
      rest = std::max(rest, gain_from(next, end, max_batch));
    }
    const double gain = gain_of(batch) + rest;
    if (gain > best.gain) best = {head, gain};
    if (batch == whole(head)) break;
    // The next head that matters is the first whose deadline allows one more.
    const Nanos longer = later_by(start, latency.at(batch + 1));
    while (head < waiting.size() && due(head) < longer) ++head;
  }
  return best;
}

int Lookahead::in_time(int first, Nanos start) const {
  int count = 0;
  int batch = first;
  for (std::size_t index = 0; index < waiting.size();) {
    start = later_by(start, latency.at(batch));
    const std::size_t next = index + static_cast<std::size_t>(batch);
    for (; index < next; ++index) count += start <= due(index) ? 1 : 0;
    if (index < waiting.size()) batch = whole(index);
  }
  return count;
}

}  // namespace glet::batch
