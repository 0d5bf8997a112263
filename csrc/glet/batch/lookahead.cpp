#include "glet/batch/lookahead.h"

#include <algorithm>

namespace glet::batch {

std::size_t Lookahead::first_alive(std::size_t index, Nanos start) const {
  const Nanos soonest = later_by(start, latency.at(1));
  const auto from = waiting.begin() + static_cast<std::ptrdiff_t>(index);
  const auto found = std::partition_point(from, waiting.end(), [&](const Request& request) {
    return earlier_by(request.deadline, margin) < soonest;
  });
  return static_cast<std::size_t>(found - waiting.begin());
}

int Lookahead::fitting(std::size_t index, Nanos start) const {
  const Nanos end = due(index);
  if (end <= start) return 0;
  return latency.largest_within(end == kNever ? kNever : end - start, whole(index));
}

int Lookahead::whole(std::size_t index) const {
  return static_cast<int>(std::min(waiting.size() - index, static_cast<std::size_t>(max_batch)));
}

std::size_t Lookahead::first_whole(std::size_t index, Nanos start) const {
  std::size_t low = index;
  std::size_t high = waiting.size();
  while (low < high) {
    const std::size_t middle = low + (high - low) / 2;
    if (later_by(start, latency.at(whole(middle))) <= due(middle)) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}

int Lookahead::served_from(std::size_t index, Nanos start, bool whole_only) const {
  int served = 0;
  while (index < waiting.size()) {
    index = whole_only ? first_whole(index, start) : first_alive(index, start);
    if (index == waiting.size()) break;
    const int batch = fitting(index, start);
    served += batch;
    start = later_by(start, latency.at(batch));
    index += static_cast<std::size_t>(batch);
  }
  return served;
}

std::size_t Lookahead::to_give_up(Nanos start) const {
  const std::size_t head = first_alive(0, start);
  if (head == waiting.size() || fitting(head, start) == whole(head)) return head;
  return best(start).given_up;
}

Lookahead::Future Lookahead::best(Nanos start) const {
  std::size_t head = first_alive(0, start);
  Future best{head, 0};
  while (head < waiting.size()) {
    const int batch = fitting(head, start);
    const Nanos end = later_by(start, latency.at(batch));
    const std::size_t next = head + static_cast<std::size_t>(batch);
    const int served =
        batch + std::max(served_from(next, end, false), served_from(next, end, true));
    if (served > best.served) best = {head, served};
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
