#include "base/turns.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace godwit {
namespace {

using namespace std::chrono_literals;

constexpr auto kNever = [] { return false; };

TEST(Turns, NoMoreThanSoManyAtOnce) {
  Turns turns(2);
  std::atomic<int> inside = 0, most = 0;
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 8; ++i)
      threads.emplace_back([&] {
        for (int round = 0; round < 200; ++round) {
          const Turns::Turn turn = turns.take(Clock::now() + 60s, kNever);
          EXPECT_TRUE(turn);
          const int now = ++inside;
          for (int before = most; before < now && !most.compare_exchange_weak(before, now);) {
          }
          --inside;
        }
      });
  }
  EXPECT_LE(most, 2);
  EXPECT_TRUE(turns.try_take());
}

TEST(Turns, AreTakenInTheOrderOfComing) {
  Turns turns(1);
  std::vector<int> order;
  std::vector<std::jthread> threads;
  {
    const Turns::Turn first = turns.take(Clock::now(), kNever);
    for (int i = 0; i < 5; ++i) {
      std::atomic<bool> asks = false;
      threads.emplace_back([&turns, &order, &asks, i] {
        bool once = false;
        const Turns::Turn turn = turns.take(Clock::now() + 60s, [&] {
          if (!once) asks = once = true;  // it waits
          return false;
        });
        order.push_back(i);
      });
      while (!asks) std::this_thread::yield();
      EXPECT_FALSE(turns.try_take());
    }
  }
  threads.clear();
  EXPECT_EQ(order, (std::vector{0, 1, 2, 3, 4}));
}

TEST(Turns, WhoeverGivesUpOrIsOutOfTimeHasNone) {
  Turns turns(1);
  Turns::Turn first = turns.try_take();
  EXPECT_TRUE(first);
  EXPECT_FALSE(turns.take(Clock::now(), kNever));
  EXPECT_FALSE(turns.take(Clock::now() + 60s, [] { return true; }));
  first = {};
  EXPECT_TRUE(turns.take(Clock::now(), kNever));
}

}  // namespace
}  // namespace godwit
