// What a restoring CRIU asks the agent (restored_objects.cc, runtime/object_door.h). Of one host and one build: native.
#pragma once

#include <stddef.h>
#include <stdint.h>

inline constexpr char kObjectDoorVariable[] = "GODWIT_OBJECTS";
inline constexpr size_t kObjectDoorNameBytes = 23;
inline constexpr size_t kObjectSecretBytes = 32;

struct ObjectQuestion {
  unsigned char secret[kObjectSecretBytes];
  uint64_t inode;
};

// The answer: one byte, with the object's descriptor if it is there.
inline constexpr char kObjectHere = 'y';
inline constexpr char kObjectNotHere = 'n';

inline constexpr int kObjectNone = -1;
inline constexpr int kObjectFailed = -2;
