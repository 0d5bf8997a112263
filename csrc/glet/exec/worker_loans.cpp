#include <algorithm>
#include <utility>

#include "glet/exec/partition/green_context.h"
#include "glet/exec/preparer.h"
#include "glet/exec/worker.h"

// How a worker lends its share and borrows a neighbour's. A borrower holds its own lock when it
// asks the lender, so it only tries for the lender's: two that ask each other both go without.
namespace glet::exec {

PartitionSpec Worker::spec() const {
  const std::lock_guard lock(mutex_);
  return spec_;
}

void Worker::set_loans(std::vector<std::shared_ptr<Loan>> loans) {
  std::vector<std::shared_ptr<Loan>> before;  // dropped without the lock: with them go contexts
  {
    const std::lock_guard lock(mutex_);
    before.swap(loans_);
    for (auto& loan : loans) {
      const auto same = std::find_if(before.begin(), before.end(), [&](const auto& old) {
        return !old->lender.owner_before(loan->lender) && !loan->lender.owner_before(old->lender) &&
               same_share(old->own, loan->own) && same_share(old->theirs, loan->theirs);
      });
      if (same == before.end()) {
        // Neither of these kinds takes anything of the device.
        if (kind_ != PartitionSpec::Kind::kGreen) loan->partition = make_partition(loan->wide);
      } else {
        keep_learned(**same, *loan);
      }
      for (const auto& [id, model] : models_) add_to_loan(*loan, *model);
    }
    loans_ = std::move(loans);
  }
}

void Worker::keep_learned(const Loan& before, Loan& now) {
  now.partition = before.partition;
  for (const auto& [id, latency] : before.latency) {
    const auto was = before.known.find(id);
    const auto is = now.known.find(id);
    const bool same = was == before.known.end()
                          ? is == now.known.end()
                          : is != now.known.end() && is->second == was->second;
    if (same) now.latency.emplace(id, latency);
  }
}

// A model that is loaded by now; does nothing when the loan knows it.
void Worker::add_to_loan(Loan& loan, const Model& model) {
  const auto known = loan.known.find(model.id);
  const bool is_known = known != loan.known.end();
  loan.latency.try_emplace(model.id, is_known ? known->second : model.table,
                           model.runner->max_batch(), is_known);
}

void Worker::forget_in_loans(ModelId model, bool also_known) {
  for (const auto& loan : loans_) {
    if (also_known || !loan->known.contains(model)) loan->latency.erase(model);
    std::erase_if(loan->asked, [&](const auto& asked) { return asked.first == model; });
  }
}

// With the lock, before the batch is taken.
Borrowed Worker::borrow(const Model& model, int n, Nanos at) {
  // What is captured goes to the streams that a loan would run on.
  if (loans_.empty() || is_preparing()) return {};
  for (const auto& loan : loans_) {
    const auto wide = loan->latency.find(model.id);
    if (wide == loan->latency.end() || !same_share(spec_, loan->own)) continue;
    const auto lender = loan->lender.lock();
    if (lender == nullptr || !wide->second.pays(n, queue_.expected(model.id, n))) continue;
    const bool ready = is_ready(*loan, model, n);
    const auto until =
        lender->lend(*loan, {at, queue_.latency(model.id, n), wide->second.at(n)}, ready);
    if (!until) continue;
    if (ready) return {loan, lender, loan->partition, *until};
    ask_for(loan, model.id, n);
  }
  return {};
}

bool Worker::is_ready(const Loan& loan, const Model& model, int n) {
  if (loan.partition == nullptr) return false;
  const GreenContext* context = loan.partition->green();
  return context == nullptr || model.runner->is_ready(*context, n);
}

void Worker::ask_for(const std::shared_ptr<Loan>& loan, ModelId model, int n) {
  if (!loan->asked.emplace(model, n).second) return;
  loan->preparer->post([self = weak_from_this(), loan, model, n] {
    if (const auto worker = self.lock()) worker->prepare_wide(loan, model, n);
  });
}

// On the preparer's thread. The model stays while its `preparing` is set.
void Worker::prepare_wide(const std::shared_ptr<Loan>& loan, ModelId id, int n) {
  Model* model = nullptr;
  std::shared_ptr<Partition> partition;
  {
    Lock lock(mutex_);
    ++waiters_;
    changed_.wait(lock, [&] { return !borrowing_; });
    --waiters_;
    model = find(id);
    if (!admitting_ || model == nullptr || !model->admitting) return;
    model->preparing = true;
    partition = loan->partition;
  }
  bool made = false;
  try {
    if (partition == nullptr) partition = make_partition(loan->wide);
    if (const GreenContext* context = partition->green()) model->runner->make_ready(*context, n);
    made = true;
  } catch (const std::exception&) {
    // No loans of this batch then: it stays among those asked for, and is not asked for again.
  }
  const std::lock_guard lock(mutex_);
  if (partition != nullptr) loan->partition = partition;
  if (made) loan->asked.erase({id, n});
  model->preparing = false;
  if (waiters_ > 0) changed_.notify_all();
}

bool Worker::is_preparing() const {
  return std::any_of(models_.begin(), models_.end(),
                     [](const auto& entry) { return entry.second->preparing; });
}

// ---- the lender's side, on the borrower's thread

std::optional<Nanos> Worker::lend(const Loan& loan, const LoanTerms& terms, bool take) {
  const Lock lock(mutex_, std::try_to_lock);
  if (!lock || !is_idle() || !same_share(spec_, loan.theirs)) return std::nullopt;
  const auto until = batch::loan_until(terms.at, terms.own, terms.wide, queue_);
  if (until && take) {
    lent_ = true;
    busy_until_ = *until;
  }
  return until;
}

bool Worker::is_idle() const {
  return admitting_ && !stop_ && !lent_ && !resizing_ && running_ == nullptr && !asked();
}

void Worker::take_back() {
  bool wake = false;
  {
    const std::lock_guard lock(mutex_);
    lent_ = false;
    busy_until_ = Nanos(0);
    // It slept on while requests came.
    wake = stop_ || asked() || queue_.size() > 0;
    submitted_.store(true, std::memory_order_relaxed);
  }
  if (wake) wake_.notify_one();
}

}  // namespace glet::exec
