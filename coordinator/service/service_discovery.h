#pragma once

#include <string>
#include <vector>

#include "rsidiff/v1/round.pb.h"

namespace rsidiff::coordinator {

/// Prometheus' http_sd format: a JSON list with the coordinator's own target (job rsidiff-coordinator)
/// and one for each worker that lives and serves metrics (job rsidiff-worker, worker's name in
/// `worker`, device in __meta_rsidiff_device). Workers in name order.
std::string ServiceDiscoveryJson(const std::string& coordinator_address,
                                 const std::vector<v1::WorkerRecord>& workers);

}  // namespace rsidiff::coordinator
