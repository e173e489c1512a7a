-- A count of many events updates nearly every score of its windows. With half of each page free the new
-- versions stay on the pages of the old ones, and no index entry has to be written for them.
ALTER TABLE nightshift.leaderboard_score SET (fillfactor = 50);
